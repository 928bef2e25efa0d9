\set n random(:first, :last)
SELECT id, key, value, version, created_at, updated_at FROM items WHERE key = :n
