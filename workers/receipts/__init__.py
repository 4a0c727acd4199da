"""What a receipt's reader computes again: its own valuation of the delivered model."""
