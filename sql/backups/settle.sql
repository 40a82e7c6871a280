-- Has done now what triggers left for the end of the transaction.
SET CONSTRAINTS ALL IMMEDIATE
