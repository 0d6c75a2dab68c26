"""What runs queries elsewhere than in the projections. Only `bootstrap` imports it."""
