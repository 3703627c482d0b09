"""What `{% load session_client %}` finds."""
