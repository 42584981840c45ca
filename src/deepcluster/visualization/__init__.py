"""Pictures of what a network has learned."""
