"""What machines can read about our interfaces: OpenAPI 3.1 and JSON Schemas, made of the types that serve them."""
