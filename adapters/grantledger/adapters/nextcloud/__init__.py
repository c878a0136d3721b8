"""The drop-in for applications of nextcloud-mcp-server's token broker."""
