"""The HTTP interface: one module of routes for each kind of resource."""
