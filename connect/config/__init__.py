"""The configuration: `load_config("connect.toml")` gives a checked `Config` or a ConfigError that says everything that is wrong."""

from connect.config.load import ConfigProblems, load_config, parse_config
from connect.config.models import Config, Connection, Credentials, GeneralSettings, Job, Notification, RedisSettings, RegisterSettings

__all__ = [
    "Config",
    "ConfigProblems",
    "Connection",
    "Credentials",
    "GeneralSettings",
    "Job",
    "Notification",
    "RedisSettings",
    "RegisterSettings",
    "load_config",
    "parse_config",
]
