-- Who handed in the group's first operation, and on which day (UTC, counted from 1970): one person
-- makes only so many a day. NULL: made before this was kept.
ALTER TABLE groups ADD COLUMN maker TEXT;
ALTER TABLE groups ADD COLUMN made_day INTEGER;
CREATE INDEX groups_made ON groups (maker, made_day) WHERE maker IS NOT NULL;
