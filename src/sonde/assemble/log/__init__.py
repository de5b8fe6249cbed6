"""What people do with a log: look through it, copy it, and take an older one in."""
