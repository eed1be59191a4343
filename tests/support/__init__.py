"""What the folders of tests share: one of each helper."""
