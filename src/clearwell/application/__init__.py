"""One function per thing a user can do. Each opens what it needs, and leaves everything consistent."""
