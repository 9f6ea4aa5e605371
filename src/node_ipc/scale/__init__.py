"""More than one process: workers that share one listening socket."""
