"""The routes of the shop."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("about", views.about, name="about"),
    path("unread", views.unread, name="unread"),
    path("password", views.Password.as_view(), name="password"),
    path("deadlines", views.deadlines, name="deadlines"),
]
