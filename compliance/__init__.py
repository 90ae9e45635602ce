"""What it MEANS: posture and policy to compliance state, context and policy to access decision. Pure."""
