-- Whether a role has an analyst's privileges and no others; no row if the server lacks the role.
SELECT rolname = 'analyst'
       OR NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
          AND ARRAY['analyst'] = ARRAY(
              SELECT roleid::regrole::text FROM pg_auth_members WHERE member = role.oid)
  FROM pg_roles AS role
 WHERE rolname = %(name)s
