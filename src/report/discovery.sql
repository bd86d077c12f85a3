--
-- Which columns look as if they held personal data, and how they would be protected.
--
-- Names and types are looked at everywhere.  Contents are looked at only where the
-- session's role and the immediate caller may read the column and no row security
-- hides rows from either; the query runs as the table's owner (sqlrun/run_as.h)
-- and returns counts: no sampled value leaves it.
--
CREATE TYPE dataprotect.personal_column AS (
    rel regclass,
    col name,
    kind text,
    confidence real,
    reasons text[],
    rows bigint,
    call text
);
COMMENT ON TYPE dataprotect.personal_column IS
    'a column that looks personal: kind of data, confidence from 0 to 1 and the reasons for it, rows of the table as estimated, the call that protects it';

-- What a column's name says, in the languages that schemas are mostly written in.
-- pattern: over the name in lower case with words parted by "_"; categories: of
-- types that can hold such data (pg_type.typcategory; J stands for json and jsonb).
-- search: it is mostly looked up by equality.
CREATE FUNCTION dataprotect._personal_names(OUT kind text, OUT weight real, OUT pattern text, OUT categories text, OUT search bool)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
VALUES
    ('email', 0.8::real, '(^|_)(e_?mails?|mail|email_?addr(ess)?|correo|courriel)($|_)', 'S', true),
    ('phone', 0.8, '(^|_)(tele)?(phone|phones|fone|mobile|msisdn|fax|tel|handy|cell|gsm|telefon|telefono|mobil)(_?(no|nr|num|number|nummer))?($|_)', 'SN', true),
    ('name', 0.7, '(^|_)(first|last|full|given|family|middle|maiden|sur|fore|birth|contact|customer|client|patient|employee|person|member|guest|student|billing|shipping|recipient|display|real|legal)_?(name|names)($|_)', 'S', false),
    ('name', 0.7, '^(surname|forename|fname|lname|vorname|nachname|familienname|prenom|nom|nombre|apellidos?|cognome|voornaam|achternaam)$', 'S', false),
    ('birth date', 0.8, '(^|_)(birth_?(date|day)|date_?of_?birth|dob|born(_on|_at)?|birthdate|geburtsdatum|geburtstag|date_naissance|naissance|fecha_nacimiento|nascita)($|_)', 'DSN', false),
    ('address', 0.7, '(^|_)(street|address|addr|address_?(line)?_?[1-4]|postal_?address|strasse|adresse|direccion|indirizzo|house_?(no|number)|line_?[12])($|_)', 'SJ', false),
    ('address', 0.4, '(^|_)(city|town|zip|zip_?code|post_?code|postal_?code|plz|ort|ville|ciudad|county)($|_)', 'SN', false),
    ('iban', 0.8, '(^|_)(iban|bank_?account(_?(no|number))?|account_?number|konto(nummer)?|bic)($|_)', 'SN', true),
    ('card number', 0.8, '(^|_)(card_?(no|num|number)|cc_?(no|num|number)|pan|credit_?card(_?(no|number))?)($|_)', 'SN', true),
    ('national id', 0.8, '(^|_)(ssn|sin|nino|nif|nie|dni|cpf|cnp|pesel|bsn|nir|aadhaar|personnummer|social_?security(_?(no|number))?|national_?(id|insurance)(_?(no|number))?|tax_?(id|no|number)|steuer_?id|codice_?fiscale|passport(_?(no|number))?|driving_?licen[cs]e(_?(no|number))?|driver_?licen[cs]e|id_?card(_?(no|number))?)($|_)', 'SN', true),
    ('ip address', 0.7, '(^|_)(ip|ip_?addr(ess)?|ipv[46]|remote_?(ip|addr)|client_?ip|last_?(login_?)?ip|current_?sign_?in_?ip)($|_)', 'SI', true),
    ('health', 0.7, '(^|_)(diagnos[ei]s|icd(_?10)?|blood_?(type|group)|allerg(y|ies)|disab(ility|led)|medication|medical|health|treatment|symptoms?)($|_)', 'SJB', false),
    ('special category', 0.7, '(^|_)(religion|ethnic(ity)?|race|sexual_?orientation|political|trade_?union|nationality|citizenship)($|_)', 'SE', false),
    ('gender', 0.5, '(^|_)(gender|sex|salutation|anrede)($|_)', 'SEB', false),
    ('pay', 0.6, '(^|_)(salary|wage|income|gehalt|payroll|compensation|net_?worth)($|_)', 'NS', false),
    ('location', 0.5, '(^|_)(lat|latitude|lon|lng|longitude|geo_?(point|location)|gps)($|_)', 'NGS', false),
    ('credential', 0.6, '(^|_)(password|passwd|pwd|passphrase|secret|api_?key|otp_?secret|totp|private_?key|refresh_?token|access_?token)($|_)', 'SU', false),
    ('user name', 0.4, '^(user_?name|login|nick_?name|screen_?name|handle)$', 'S', true)
$$;
COMMENT ON FUNCTION dataprotect._personal_names() IS 'what names of columns say about their data';

-- What contents say: conditions over v, a value as text without blanks around it,
-- cheap ones first.  search: as for names.
-- Checksums are computed where there is one, so that numbers of other kinds stay
-- out.  Sources: ISO 13616 (IBAN), ISO/IEC 7812 (card numbers), and the issuers'
-- public descriptions of national numbers.
CREATE FUNCTION dataprotect._personal_contents(OUT kind text, OUT search bool, OUT condition text, OUT reason text)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
VALUES
    ('email', true, $c$strpos(v, '@') > 1 AND v ~* '^[^@[:space:]]+@[^@[:space:].]+(\.[^@[:space:].]+)*\.[a-z]{2,}$'$c$, 'look like e-mail addresses'),
    ('email', false, $c$strpos(v, '@') > 1 AND length(v) > 40 AND v ~* '[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}'$c$, 'have e-mail addresses in them'),
    ('phone', true, $c$strpos('+0(', left(v, 1)) > 0 AND length(v) BETWEEN 7 AND 25 AND v ~ '^(\+|00|\(|0)[0-9 ()./-]{6,22}[0-9]$' AND length(regexp_replace(v, '[^0-9]', '', 'g')) BETWEEN 7 AND 15
                 AND v !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}' AND v !~ '^[0-9]{1,3}(\.[0-9]{1,3}){3}$' AND v !~ '^0+[.,]'$c$, 'look like telephone numbers'),
    ('phone', true, $c$length(v) BETWEEN 12 AND 14 AND v ~ '^\(?[2-9][0-9]{2}\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4}$'$c$, 'look like telephone numbers'),
    ('iban', true, $c$CASE WHEN length(v) BETWEEN 15 AND 42 AND strpos('0123456789', substr(v, 3, 1)) > 0 AND upper(replace(v, ' ', '')) ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$' THEN
                (SELECT string_agg(CASE WHEN d.d ~ '[A-Z]' THEN (ascii(d.d) - 55)::text ELSE d.d END, '' ORDER BY d.n)::numeric
                 FROM regexp_split_to_table(substr(upper(replace(v, ' ', '')), 5) || left(upper(replace(v, ' ', '')), 4), '') WITH ORDINALITY d (d, n)) % 97 = 1
                ELSE false END$c$, 'are IBANs with a right checksum'),
    ('card number', true, $c$CASE WHEN length(v) BETWEEN 13 AND 23 AND strpos('23456', left(v, 1)) > 0 AND v ~ '^[2-6][0-9 -]{11,22}[0-9]$' AND length(regexp_replace(v, '[^0-9]', '', 'g')) BETWEEN 13 AND 19 THEN
                (SELECT sum(CASE WHEN d.n % 2 = 1 THEN d.d::int ELSE (d.d::int * 2) / 10 + (d.d::int * 2) % 10 END)
                 FROM regexp_split_to_table(reverse(regexp_replace(v, '[^0-9]', '', 'g')), '') WITH ORDINALITY d (d, n)) % 10 = 0
                ELSE false END$c$, 'are card numbers with a right Luhn digit'),
    ('national id', true, $c$length(v) = 11 AND v ~ '^[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}$' AND v !~ '^(000|666)|-00-|-0000$'$c$, 'look like US social security numbers'),
    ('national id', true, $c$length(v) BETWEEN 9 AND 13 AND upper(replace(v, ' ', '')) ~ '^[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]$'$c$, 'look like UK national insurance numbers'),
    ('national id', true, $c$CASE WHEN length(v) BETWEEN 9 AND 10 AND upper(v) ~ '^[0-9]{8}-?[A-Z]$' THEN
                right(upper(v), 1) = substr('TRWAGMYFPDXBNJZSQVHLCKE', left(v, 8)::int % 23 + 1, 1) ELSE false END$c$, 'are Spanish DNI numbers with a right letter'),
    ('national id', true, $c$length(v) = 16 AND upper(v) ~ '^[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]$'$c$, 'look like Italian codici fiscali'),
    ('national id', true, $c$CASE WHEN length(v) BETWEEN 15 AND 23 AND strpos('12', left(v, 1)) > 0 AND replace(v, ' ', '') ~ '^[12][0-9]{2}(0[1-9]|1[0-2])[0-9]{10}$' THEN
                97 - left(replace(v, ' ', ''), 13)::numeric % 97 = right(replace(v, ' ', ''), 2)::numeric ELSE false END$c$, 'are French NIR numbers with a right key'),
    ('ip address', true, $c$length(v) BETWEEN 7 AND 18 AND strpos(v, '.') > 0 AND v ~ '^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(/[0-9]{1,2})?$'
                 OR strpos(v, ':') > 0 AND v ~* '^[0-9a-f]{1,4}(:[0-9a-f]{0,4}){2,7}(/[0-9]{1,3})?$' AND v ~ '::|(:.*){5}'$c$, 'are IP addresses'),
    ('birth date', false, $c$CASE WHEN substr(v, 5, 1) = '-' AND v ~ '^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])( 00:00:00.*)?$' THEN
                left(v, 4)::int BETWEEN extract(year FROM now())::int - 110 AND extract(year FROM now())::int - 5 ELSE false END$c$, 'are dates that people are born on'),
    ('name', false, $c$length(v) <= 60 AND v ~ '^[[:upper:]][[:lower:]''\u2019-]+( [[:upper:]][[:lower:].''\u2019-]*){0,3}$'$c$, 'are written like names')
$$;
COMMENT ON FUNCTION dataprotect._personal_contents() IS 'conditions over a value as text, and what is said of a column where most values fulfil one';

-- firstName, FirstName and FIRST-NAME are first_name.
CREATE FUNCTION dataprotect._words_of_name(name text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT lower(regexp_replace(regexp_replace(name, '([a-z0-9])([A-Z])', '\1_\2', 'g'), '[^A-Za-z0-9]+', '_', 'g'))
$$;
COMMENT ON FUNCTION dataprotect._words_of_name(text) IS 'a column''s name with its words in lower case, parted by "_"';

-- May the contents be looked at for whoever calls?
CREATE FUNCTION dataprotect._may_sample(rel regclass, attnum int2) RETURNS bool
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT bool_and(has_column_privilege(w.who, rel, attnum, 'SELECT')
                    AND (NOT c.relrowsecurity OR r.rolsuper OR r.rolbypassrls
                         OR pg_has_role(w.who, c.relowner, 'USAGE') AND NOT c.relforcerowsecurity))
        FROM pg_class c, (SELECT dataprotect._caller() UNION SELECT coalesce(dataprotect._entered_by(), dataprotect._caller())) w (who)
            JOIN pg_roles r ON r.oid = w.who
        WHERE c.oid = rel
$$;
COMMENT ON FUNCTION dataprotect._may_sample(regclass, int2) IS
    'whether the session''s role and the immediate caller both may read every value of a column';

CREATE FUNCTION dataprotect._rows_about(rel regclass) RETURNS bigint
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                             -- never analyzed: pages by the width that most tables of people have
                             ELSE pg_relation_size(c.oid) / 100 END), 0)::bigint
        FROM pg_class c WHERE c.oid = rel AND c.relkind <> 'p' OR c.oid IN (SELECT t.relid FROM pg_partition_tree(rel) t WHERE t.isleaf)
$$;
COMMENT ON FUNCTION dataprotect._rows_about(regclass) IS 'rows of a table with its partitions, as the planner knows them';

-- Columns of ordinary tables that are not protected yet, with what their names say.
CREATE FUNCTION dataprotect._unprotected_columns(schema name, wanted regclass = NULL)
    RETURNS TABLE (rel regclass, col name, attnum int2, category text, kind text, weight real, search bool)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid, a.attname, a.attnum, t.category, n.kind, coalesce(n.weight, 0), coalesce(n.search, false)
        FROM pg_class c
            JOIN pg_namespace s ON s.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            JOIN pg_type y ON y.oid = a.atttypid
            JOIN pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
            CROSS JOIN LATERAL (SELECT CASE WHEN b.oid IN ('json'::regtype, 'jsonb'::regtype) THEN 'J' ELSE b.typcategory::text END) t (category)
            LEFT JOIN LATERAL (
                SELECT p.kind, p.weight, p.search FROM dataprotect._personal_names() p
                WHERE dataprotect._words_of_name(a.attname) ~ p.pattern AND strpos(p.categories, t.category) > 0
                ORDER BY p.weight DESC, p.kind LIMIT 1) n ON true
        WHERE s.nspname = $1 AND (wanted IS NULL OR c.oid = wanted) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
            AND NOT EXISTS (SELECT FROM dataprotect._encrypted_parts(a.atttypid, a.atttypmod))
            AND (b.typtype <> 'b' OR b.typcategory <> 'A') AND t.category IN ('S', 'N', 'D', 'I', 'J', 'E', 'B', 'G', 'U')
$$;
COMMENT ON FUNCTION dataprotect._unprotected_columns(name, regclass) IS 'columns of a schema''s tables, or of one of them, that are not protected, and what their names say';

-- For each column: the number of values that are not null, then of those that
-- fulfil each condition of _personal_contents().
CREATE FUNCTION dataprotect._count_contents(rel regclass, cols name[], sample int) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows    bigint := dataprotect._rows_about(rel);
    v_counts  text;
    v_percent float8;
BEGIN
    SELECT string_agg(
            format('json_build_array(count(%1$s), %2$s)', 'c' || c.n,
                   (SELECT string_agg(format('count(*) FILTER (WHERE %s)', regexp_replace(p.condition, '\mv\M', 'c' || c.n, 'g')), ', ' ORDER BY p.ordinality)
                    FROM dataprotect._personal_contents() WITH ORDINALITY p)), ', ' ORDER BY c.n)
        INTO v_counts FROM unnest(cols) WITH ORDINALITY c (name, n);
    -- four times what is wanted, for pages are chosen and not rows
    v_percent := CASE WHEN v_rows > 20 * sample THEN least(100, 400.0 * sample / v_rows) END;
    RETURN dataprotect._value_as(rel, format(
        'SELECT json_build_array(%s) FROM (SELECT %s FROM %s t%s LIMIT %s) s', v_counts,
        (SELECT string_agg(format('nullif(left(btrim(t.%I::text), 1000), '''') AS c%s', c.name, c.n), ', ' ORDER BY c.n) FROM unnest(cols) WITH ORDINALITY c (name, n)),
        rel, CASE WHEN v_percent IS NOT NULL THEN format(' TABLESAMPLE SYSTEM (%s)', v_percent) END, sample))::jsonb;
EXCEPTION WHEN OTHERS THEN
    -- a partition of somebody else's, a type whose output fails: by name alone then
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._count_contents(regclass, name[], int) IS 'how many sampled values of columns look like what; null where they could not be sampled';

CREATE FUNCTION dataprotect._protecting_call(rel regclass, col name, search bool) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('CALL dataprotect.encrypt_column(%L, %L, %L%s)', rel::text, col,
                  coalesce((SELECT min(k.name) FROM dataprotect.key k WHERE k.state = 'a'), 'pii'),
                  CASE WHEN search OR EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                                              WHERE i.indrelid = $1 AND a.attname = $2) THEN ', searchable => true' END)
$$;
COMMENT ON FUNCTION dataprotect._protecting_call(regclass, name, bool) IS 'the call that would protect a column';

CREATE FUNCTION dataprotect._do_find_personal_data(schema name, sample int) RETURNS SETOF dataprotect.personal_column
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    t         record;
    v_sampled name[];
    v_counts  jsonb;
BEGIN
    IF schema IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'schema must not be null');
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = _do_find_personal_data.schema) THEN
        PERFORM dataprotect._raise('undefined_schema', format('schema "%s" does not exist', schema));
    END IF;
    IF sample IS NULL OR sample < 0 OR sample > 1000000 THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'sample must be between 0 and 1000000 rows', NULL,
                                   'With 0 only names and types are looked at.');
    END IF;
    FOR t IN SELECT u.rel, array_agg(u.col ORDER BY u.attnum) FILTER (WHERE u.category IN ('S', 'N', 'D', 'J', 'U') AND dataprotect._may_sample(u.rel, u.attnum)) AS cols
             FROM dataprotect._unprotected_columns(schema) u GROUP BY u.rel ORDER BY u.rel::text LOOP
        v_counts := NULL;
        v_sampled := coalesce(t.cols, '{}');
        IF sample > 0 AND v_sampled <> '{}' THEN
            v_counts := dataprotect._count_contents(t.rel, v_sampled, sample);
        END IF;
        RETURN QUERY SELECT * FROM dataprotect._judge_columns(schema, t.rel, v_sampled, v_counts);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._do_find_personal_data(name, int) IS 'body of dataprotect.find_personal_data(); see definer.c';

-- A column's name and its contents are two witnesses; together they are believed
-- more than each.  Contents alone count where most values agree.
CREATE FUNCTION dataprotect._judge_columns(schema name, rel regclass, sampled name[], counts jsonb) RETURNS SETOF dataprotect.personal_column
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH seen AS (
        SELECT s.col, p.kind, p.search, p.reason, (x.counts ->> 0)::numeric AS present, (x.counts ->> p.ordinality::int)::numeric AS hits
            FROM unnest(sampled) WITH ORDINALITY s (col, n)
                CROSS JOIN LATERAL (SELECT counts -> (s.n::int - 1)) x (counts)
                CROSS JOIN dataprotect._personal_contents() WITH ORDINALITY p
            WHERE counts IS NOT NULL),
    by_content AS (
        SELECT DISTINCT ON (col, kind) col, kind, search, reason, present, hits / present AS share FROM seen
            WHERE present > 0 AND hits > 0 ORDER BY col, kind, hits DESC),
    judged AS (
        SELECT u.col, u.attnum, coalesce(c.kind, u.kind) AS kind, u.category <> 'J' AND (c.kind IS NULL AND u.search OR c.search) AS search,
               CASE WHEN c.kind IS NULL THEN CASE WHEN u.col = ANY (sampled) AND counts IS NOT NULL AND p.present > 0 THEN CASE WHEN u.kind = 'name' THEN 0.8 ELSE 0.6 END * u.weight ELSE u.weight END
                    WHEN u.kind = c.kind THEN 1 - (1 - u.weight) * (1 - 0.9 * c.share)
                    -- names and dates look like much else
                    WHEN c.kind = 'name' THEN 0.15 * c.share
                    WHEN c.kind = 'birth date' THEN 0.3 * c.share
                    ELSE 0.9 * c.share END AS confidence,
               array_remove(ARRAY[
                   CASE WHEN u.kind = coalesce(c.kind, u.kind) THEN format('name "%s"', u.col) END,
                   CASE WHEN c.kind IS NOT NULL THEN format('%s of %s sampled values %s', round(c.share * c.present), c.present, c.reason) END,
                   CASE WHEN c.kind IS NULL AND counts IS NULL THEN 'content not looked at'
                        WHEN c.kind IS NULL AND NOT u.col = ANY (sampled) AND u.category IN ('S', 'N', 'D', 'J', 'U') THEN 'content not looked at: SELECT on every row is needed' END,
                   CASE WHEN u.category = 'I' THEN 'type of network addresses' END], NULL) AS reasons
            FROM (SELECT x.rel, x.col, x.attnum, x.category, CASE WHEN x.category = 'I' THEN 'ip address' ELSE x.kind END AS kind,
                         CASE WHEN x.category = 'I' THEN greatest(x.weight, 0.6::real) ELSE x.weight END AS weight, x.search OR x.category = 'I' AS search
                  FROM dataprotect._unprotected_columns(schema, $2) x) u
                LEFT JOIN (SELECT DISTINCT ON (col) col, present FROM seen ORDER BY col) p ON p.col = u.col
                LEFT JOIN by_content c ON c.col = u.col AND (c.kind = u.kind OR c.share >= 0.5 AND (u.weight < 0.8 OR c.kind NOT IN ('name', 'birth date')))
            WHERE u.kind IS NOT NULL OR c.kind IS NOT NULL)
    SELECT $2, b.col, b.kind, round(b.confidence::numeric, 2)::real, b.reasons, dataprotect._rows_about($2), dataprotect._protecting_call($2, b.col, b.search)
        FROM (SELECT DISTINCT ON (j.col) j.* FROM judged j ORDER BY j.col, j.confidence DESC, j.kind) b
        WHERE b.confidence >= 0.2 ORDER BY b.attnum
$$;
COMMENT ON FUNCTION dataprotect._judge_columns(name, regclass, name[], jsonb) IS 'columns of one table that look personal, from their names and from counts of their contents';

CREATE FUNCTION dataprotect.find_personal_data(schema name, sample int = 1000) RETURNS SETOF dataprotect.personal_column
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.find_personal_data(name, int) IS
    'columns of a schema that look as if they held personal data and are not protected, by name, type and up to so many sampled rows a table, with the call that protects each';

-- What encrypt_columns() would hold up and need.  The figures are those of one core
-- of an ordinary server; a copy of the table tells better.
CREATE FUNCTION dataprotect._rewrite_estimate(rel regclass, columns int, OUT seconds numeric, OUT bytes bigint, OUT locked text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ceil(s.n * columns / 300000.0 + s.size / 1e8), s.size + s.n * columns * 45,
           (SELECT string_agg(DISTINCT f.other::regclass::text, ', ' ORDER BY f.other::regclass::text)
            FROM (SELECT CASE WHEN k.conrelid = $1 THEN k.confrelid ELSE k.conrelid END FROM pg_constraint k
                  WHERE k.contype = 'f' AND $1 IN (k.conrelid, k.confrelid) AND k.conrelid <> k.confrelid) f (other))
        FROM (SELECT dataprotect._rows_about($1), (SELECT sum(pg_total_relation_size(t.relid)) FROM (SELECT $1 UNION SELECT p.relid FROM pg_partition_tree($1) p) t (relid))) s (n, size)
$$;
COMMENT ON FUNCTION dataprotect._rewrite_estimate(regclass, int) IS
    'how long a table is locked while so many of its columns are protected, the disk that takes meanwhile, and tables that foreign keys tie to it';

CREATE FUNCTION dataprotect._do_protect_plan(schema name) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_key    text := coalesce((SELECT min(k.name) FROM dataprotect.key k WHERE k.state = 'a'), 'pii');
    v_script text[];
    t        record;
    e        record;
BEGIN
    v_script := ARRAY[
        format('-- Columns of schema %I in database %I that look personal, as found at %s.', schema, current_database(), date_trunc('second', clock_timestamp())),
        '-- Read it before it runs, and take out what is not personal: names and samples were looked at, not meanings.',
        '-- Times and disk are estimates, at 300,000 values and 100 MB a second: try a copy of a large table first.', '',
        'SELECT item, detail, hint FROM dataprotect.check_setup() WHERE NOT ok;'];
    IF NOT EXISTS (SELECT FROM dataprotect.key k WHERE k.state = 'a') THEN
        v_script := v_script || format('SELECT dataprotect.create_key(%L);', v_key);
    END IF;
    FOR t IN
        SELECT f.rel, max(f.rows) AS rows, count(*) FILTER (WHERE o.problems IS NULL AND f.confidence >= 0.5) AS n,
               jsonb_object_agg(f.col, CASE WHEN f.call LIKE '%searchable => true)' THEN jsonb_build_object('key', v_key, 'searchable', true) ELSE to_jsonb(v_key) END)
                   FILTER (WHERE o.problems IS NULL AND f.confidence >= 0.5) AS wishes,
               array_agg(format('--   %s: %s (%s): %s%s', f.col, f.kind, f.confidence, array_to_string(f.reasons, '; '),
                                CASE WHEN o.problems IS NOT NULL THEN ' -- not as it is: ' || o.problems
                                     WHEN f.confidence < 0.5 THEN ' -- left out: not sure enough' END)
                         ORDER BY f.confidence DESC, f.col) AS notes
            FROM dataprotect._do_find_personal_data(schema, 1000) f
                LEFT JOIN LATERAL (SELECT string_agg(b.problem || coalesce(' ' || b.advice, ''), ' ') FROM dataprotect._column_obstacles(f.rel, f.col) b) o (problems) ON true
            GROUP BY f.rel ORDER BY f.rel::text
    LOOP
        SELECT * INTO e FROM dataprotect._rewrite_estimate(t.rel, t.n::int);
        v_script := v_script || ARRAY['',
            format('-- %s: about %s rows%s', t.rel, t.rows,
                   CASE WHEN t.n > 0 THEN format('; ACCESS EXCLUSIVE lock%s for about %s s, %s of disk meanwhile',
                                                 coalesce(', on ' || e.locked || ' too where a column is part of the key,', ''), e.seconds, pg_size_pretty(e.bytes)) END)]
            || t.notes;
        IF t.n > 0 THEN
            v_script := v_script || format('CALL dataprotect.encrypt_columns(%L, %L);', t.rel::text, t.wishes::text);
        END IF;
    END LOOP;
    RETURN array_to_string(v_script || ARRAY['',
        '-- Nobody sees more than masks now. Whoever needs values, and why:',
        format('-- SELECT dataprotect.grant_access(%L, ''ROLE'', ''reveal'', reason => ''...'');', v_key)], E'\n') || E'\n';
END $$;
COMMENT ON FUNCTION dataprotect._do_protect_plan(name) IS 'body of dataprotect.protect_plan(); see definer.c';

CREATE FUNCTION dataprotect.protect_plan(schema name) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.protect_plan(name) IS
    'an SQL script that protects what find_personal_data() finds in a schema, with the reasons, what stands in the way, and estimates of time, locks and disk';
