"""Where parts are put together: the only folder that knows adapters. One file a role, so that each loads only what it needs."""
