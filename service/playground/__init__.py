"""The playground: OpenAI's routes for base models and settled models, and the process behind."""
