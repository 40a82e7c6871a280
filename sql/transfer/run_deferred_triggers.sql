-- Runs the deferred triggers now instead of at the end of the transaction.
SET CONSTRAINTS ALL IMMEDIATE
