"""The interop harness: builds the network, runs the servers, drives the clients, judges the result."""
