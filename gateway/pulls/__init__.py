"""Asking products: who is asked when, with which credentials, and what becomes of the answer."""
