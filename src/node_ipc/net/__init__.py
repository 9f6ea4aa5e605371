"""What is said to the kernel, one module for each kind of socket: Unix, TCP, TLS, UDP, Windows' named pipes."""
