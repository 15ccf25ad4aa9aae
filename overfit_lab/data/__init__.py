"""Where images and labels come from, and what is done to them before a model sees them."""
