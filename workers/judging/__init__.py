"""Language models as judges: of answers by criteria, and of two responses against each other."""
