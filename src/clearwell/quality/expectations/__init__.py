"""What history lets one expect: how long episodes stay open, and how many events arrive and when."""
