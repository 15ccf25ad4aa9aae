"""One run on several devices: a process a device, which share each batch."""
