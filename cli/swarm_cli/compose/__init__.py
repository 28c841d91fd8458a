"""Compose files: read (load) and made into a request to the managers (convert).

reader        bytes -> plain data, and the line each part stands on
variables     .env and env files;  interpolate: ${NAME:-default}
merge         several -f files, extends
validate      the compose-spec's schema, then what a schema cannot say
load          all of the above: Project
convert*      Project -> DeployStackRequest, and a warning for every key that is not supported yet
"""
