"""The configuration: YAML files that name things and give them numbers."""
