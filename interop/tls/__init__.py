"""What testssl.sh and sslscan say about the TLS of Comity."""
