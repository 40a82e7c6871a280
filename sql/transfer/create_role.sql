-- Creates a role that can hold rights but cannot log in.
CREATE ROLE {role} NOLOGIN
