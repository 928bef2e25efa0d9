"""The usual design: FastAPI in front of the Django ORM, one query after the other for each request."""

import os
from datetime import datetime

import django
from django.conf import settings
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            "NAME": os.environ["PGDATABASE"],
            # Each thread of the pool keeps its connection.
            "CONN_MAX_AGE": None,
        }
    },
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402 (models need the settings)
from django.db.models.functions import Now  # noqa: E402


class Item(models.Model):
    """The table as kvd's migration makes it."""

    id = models.BigAutoField(primary_key=True)
    key = models.TextField(unique=True)
    value = models.TextField()
    version = models.BigIntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        app_label = "kvd"
        db_table = "items"
        managed = False


class ItemAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    key: str
    value: str
    version: int
    created_at: datetime
    updated_at: datetime


class ItemUpdate(BaseModel):
    value: str


app = FastAPI()


@app.get("/items/{key}", response_model=ItemAnswer)
def get_item(key: str) -> Item:
    return find(key)


@app.put("/items/{key}", response_model=ItemAnswer)
def update_item(key: str, update: ItemUpdate) -> Item:
    Item.objects.filter(key=key).update(value=update.value, version=models.F("version") + 1, updated_at=Now())
    return find(key)


def find(key: str) -> Item:
    try:
        return Item.objects.get(key=key)
    except Item.DoesNotExist:
        raise HTTPException(status_code=404) from None
