"""An existing Django project with its admin, wrapped.

    cd examples/django_project
    uv run python manage.py migrate && uv run python manage.py runserver

Then http://localhost:8000, and /admin/; the user is alice, the password wonderland. What we added to the project stands
in project/settings.py between two comments, and as markers in shop/views.py: no login view, form, template or test of it
was changed. Now its sessions end by silence and by age, a logout or a new password ends them on every copy of the cookies,
and a user sees and ends their sessions at /session/list.

Sessions are in sessions.db beside this file, or where SESSION_STORE_URL says.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)
