"""What happens to images before the network sees them."""
