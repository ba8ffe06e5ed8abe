"""Our own torch modules, which read the official tensor names, and the parts that they share."""
