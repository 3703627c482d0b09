"""Somebody to log in as. A project of your own has its users already."""

from django.contrib.auth.hashers import make_password
from django.db import migrations


def create(apps, schema_editor):
    apps.get_model("auth", "User").objects.get_or_create(
        username="alice", defaults={"password": make_password("wonderland"), "is_staff": True, "is_superuser": True}
    )


class Migration(migrations.Migration):
    """Creates alice, who may use the admin."""

    dependencies = (("auth", "0012_alter_user_first_name_max_length"),)
    operations = (migrations.RunPython(create, migrations.RunPython.noop),)
