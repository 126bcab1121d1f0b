"""What the end-to-end tests stand on: real libvirt domains, a real agent. Python 3, nothing but its own library."""
