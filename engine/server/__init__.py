"""The engine as a server: definitions that outlive the process, an HTTP interface, metrics."""
