-- Makes a role that can be given rights, and cannot log in.
CREATE ROLE {role} NOLOGIN
