"""The same work as a good engineer would write it by hand for one shop: lean, and as safe as ours."""
