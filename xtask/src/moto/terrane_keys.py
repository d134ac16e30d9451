"""moto's tests put keys into the environment that nobody checks. The installation's own stay instead."""

import configparser
import os

from moto.core.config import default_user_config

keys = configparser.ConfigParser()
keys.read(os.environ["TERRANE_CREDENTIALS"])
os.environ["AWS_ACCESS_KEY_ID"] = keys["default"]["aws_access_key_id"]
os.environ["AWS_SECRET_ACCESS_KEY"] = keys["default"]["aws_secret_access_key"]
default_user_config["core"]["mock_credentials"] = False
