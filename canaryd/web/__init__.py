"""What canaryd serves over HTTP."""
