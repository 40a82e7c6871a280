-- Creates a role that holds privileges but cannot log in.
CREATE ROLE {role} NOLOGIN
