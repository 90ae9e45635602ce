"""What brings people back to work: tasks with their webhooks out, forms that are not lost, exceptions for a while."""
