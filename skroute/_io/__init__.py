"""Files of routers."""
