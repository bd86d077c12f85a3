--
-- One page that shows how this database keeps its promises: HTML with inline SVG,
-- nothing from elsewhere, for a screen (dark or light), a telephone and paper.
--
-- Every text that comes from a table goes through _html(); what is shown of the
-- audit log is shown to auditors only.
--
CREATE FUNCTION dataprotect._html(content text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(replace(replace(replace(replace(replace(content, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;'), '')
$$;
COMMENT ON FUNCTION dataprotect._html(text) IS 'text as it stands in HTML, in attributes too; null is empty';

CREATE FUNCTION dataprotect._html_row(VARIADIC cells text[]) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '<tr>' || string_agg('<td>' || dataprotect._html(c.cell) || '</td>', '' ORDER BY c.n) || '</tr>'
        FROM unnest(cells) WITH ORDINALITY c (cell, n)
$$;
COMMENT ON FUNCTION dataprotect._html_row(text[]) IS 'a row of an HTML table, its cells escaped';

-- Each cell says which column it is in: a telephone shows a row as lines.
CREATE FUNCTION dataprotect._html_labelled(heads text[], body text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(CASE WHEN r.i = 1 THEN r.line ELSE '<tr>' || c.cells END, '' ORDER BY r.i)
        FROM string_to_table(body, '<tr>') WITH ORDINALITY r (line, i)
            CROSS JOIN LATERAL (SELECT string_agg(CASE WHEN c.n = 1 THEN c.cell ELSE format('<td data-head="%s">', dataprotect._html(heads[c.n - 1])) || c.cell END, '' ORDER BY c.n) AS cells
                                FROM string_to_table(r.line, '<td>') WITH ORDINALITY c (cell, n)) c
$$;
COMMENT ON FUNCTION dataprotect._html_labelled(text[], text) IS 'rows of an HTML table, each cell with the head of its column';

CREATE FUNCTION dataprotect._html_table(empty text, heads text[], body text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN coalesce(body, '') = '' THEN '<p class="none">' || dataprotect._html(empty) || '</p>'
                ELSE '<div class="wide"><table><thead><tr>'
                     || (SELECT string_agg('<th scope="col">' || dataprotect._html(h.head) || '</th>', '' ORDER BY h.n) FROM unnest(heads) WITH ORDINALITY h (head, n))
                     || '</tr></thead><tbody>' || dataprotect._html_labelled(heads, body) || '</tbody></table></div>' END
$$;
COMMENT ON FUNCTION dataprotect._html_table(text, text[], text) IS 'an HTML table of rows that are HTML already, or a sentence where there are none';

-- Words beside the colour: a page that is printed grey says the same.
CREATE FUNCTION dataprotect._html_badge(word text, tone text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '<span class="badge ' || CASE WHEN tone IN ('good', 'fair', 'bad') THEN tone ELSE 'plain' END || '">' || dataprotect._html(word) || '</span>'
$$;
COMMENT ON FUNCTION dataprotect._html_badge(text, text) IS 'a word in a coloured frame: good, fair, bad or plain';

CREATE FUNCTION dataprotect._html_severity(severity text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_badge(severity, CASE WHEN severity IN ('critical', 'high') THEN 'bad' WHEN severity = 'medium' THEN 'fair' END)
$$;
COMMENT ON FUNCTION dataprotect._html_severity(text) IS 'how grave something is, in its colour';

CREATE FUNCTION dataprotect._html_section(title text, lead text, content text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '<section><h2>' || dataprotect._html(title) || '</h2><p class="lead">' || dataprotect._html(lead) || '</p>' || coalesce(content, '') || '</section>'
$$;
COMMENT ON FUNCTION dataprotect._html_section(text, text, text) IS 'a part of the page; content is HTML';

-- One horizontal bar of parts: counts and their tones.
CREATE FUNCTION dataprotect._svg_shares(label text, counts bigint[], tones text[]) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('<svg viewBox="0 0 600 22" role="img" aria-label="%s" class="chart">', dataprotect._html(label))
           || coalesce(string_agg(format('<rect x="%s" y="1" width="%s" height="20" class="f-%s"/>', round(p.before * 600 / p.total, 1), round(p.n * 600 / p.total, 1), p.tone), '' ORDER BY p.i), '')
           || '</svg>'
        FROM (SELECT c.i, c.n::numeric, tones[c.i] AS tone, sum(c.n) OVER () AS total, sum(c.n) OVER (ORDER BY c.i) - c.n AS before
              FROM unnest(counts) WITH ORDINALITY c (n, i)) p WHERE p.total > 0
$$;
COMMENT ON FUNCTION dataprotect._svg_shares(text, bigint[], text[]) IS 'a bar that shows parts of a whole';

-- What looks personal by its name and is not protected; contents are not sampled here.
CREATE FUNCTION dataprotect._page_coverage() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH open AS (
        SELECT u.rel, u.col, u.kind, dataprotect._rows_about(u.rel) AS n
            FROM pg_namespace s CROSS JOIN LATERAL dataprotect._unprotected_columns(s.nspname) u
            WHERE s.nspname !~ '^pg_' AND s.nspname NOT IN ('information_schema', 'dataprotect') AND u.weight >= 0.5),
    kept AS (SELECT p.* FROM dataprotect.protected_columns p)
    SELECT dataprotect._html_section('Coverage', format('%s protected columns; %s more look personal by their name and are not.',
                                                         (SELECT count(*) FROM kept), (SELECT count(*) FROM open)),
        dataprotect._svg_shares('protected and unprotected columns', ARRAY[(SELECT count(*) FROM kept), (SELECT count(*) FROM open)], ARRAY['good', 'bad'])
        || dataprotect._html_table('No column is protected.', '{table,column,key,type,found by}',
            (SELECT string_agg(dataprotect._html_row(k.rel::text, k.col || coalesce(' ' || k.path, ''), k.key, k.type::text,
                                                     CASE WHEN k.ordered THEN 'equality, order' WHEN k.searchable THEN 'equality' ELSE 'nothing' END), '' ORDER BY k.rel::text, k.col) FROM kept k))
        || CASE WHEN EXISTS (SELECT FROM open) THEN '<h3>Not protected</h3>' || dataprotect._html_table('', '{table,column,looks like,rows}',
            (SELECT string_agg(dataprotect._html_row(o.rel::text, o.col, o.kind, o.n::text), '' ORDER BY o.rel::text, o.col) FROM open o)) ELSE '' END)
$$;
COMMENT ON FUNCTION dataprotect._page_coverage() IS 'part of report(): protected columns, and those that look as if they should be';

CREATE FUNCTION dataprotect._page_keys() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_section('Keys', format('%s keys; %s KMS roots.', (SELECT count(*) FROM dataprotect.keys), (SELECT count(*) FROM dataprotect.kms_status)),
        dataprotect._html_table('There is no key.', '{key,state,version,rotated every,mask,roots}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(k.name) || '</td><td>' || dataprotect._html_badge(k.state, CASE k.state WHEN 'active' THEN 'good' WHEN 'suspended' THEN 'fair' ELSE 'plain' END)
                               || '</td><td>' || coalesce(k.current_version::text, '') || '</td><td>' || dataprotect._html(k.rotation_period::text) || '</td><td>' || dataprotect._html(k.mask)
                               || '</td><td>' || dataprotect._html(array_to_string(k.kms_uri, ' ')) || '</td></tr>', '' ORDER BY k.name) FROM dataprotect.keys k))
        || dataprotect._html_table('No KMS was asked since the server started.', '{root,state,calls,failed,mean,last success,last drill}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(s.kms_uri) || '</td><td>' || dataprotect._html_badge(CASE s.circuit WHEN 'closed' THEN 'reached' ELSE 'not reached' END, CASE s.circuit WHEN 'closed' THEN 'good' ELSE 'bad' END)
                               || '</td><td>' || s.calls || '</td><td>' || s.failures || '</td><td>' || coalesce(round(s.mean_ms::numeric, 1) || ' ms', '') || '</td><td>' || dataprotect._html(date_trunc('second', s.last_success)::text)
                               || '</td><td>' || dataprotect._html(coalesce(date_trunc('day', s.last_drill)::date::text, 'never')) || '</td></tr>', '' ORDER BY s.kms_uri) FROM dataprotect.kms_status s)))
$$;
COMMENT ON FUNCTION dataprotect._page_keys() IS 'part of report(): keys and their KMSs';

CREATE FUNCTION dataprotect._page_access() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_section('Who can see what', 'Roles that a grant in force reaches, by themselves or as members; everybody else sees masks.',
        dataprotect._html_table('Nobody sees more than masks.', '{key,role,sees,through,logs in}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(a.key) || '</td><td>' || dataprotect._html(a.role) || CASE WHEN a.superuser THEN ' ' || dataprotect._html_badge('superuser', 'bad') ELSE '' END
                               || '</td><td>' || dataprotect._html(CASE a.level WHEN 3 THEN 'values' WHEN 2 THEN 'finds by equality' ELSE 'masks' END)
                               || '</td><td>' || dataprotect._html(a.through) || '</td><td>' || CASE WHEN a.can_login THEN 'yes' ELSE 'no' END || '</td></tr>', '' ORDER BY a.key, a.level DESC, a.role)
             FROM dataprotect.access_review a)))
$$;
COMMENT ON FUNCTION dataprotect._page_access() IS 'part of report(): who can see what';

-- Statements that opened values in the last thirty days.  Not by way of audit_log:
-- it opens the personal fields of each record, for auditors alone.
CREATE FUNCTION dataprotect._recent_openings(OUT at timestamptz, OUT session_role text, OUT n bigint) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT i.at, i.session_role, o.n
        FROM dataprotect.audit_record i
            LEFT JOIN LATERAL (
                SELECT r.opened FROM dataprotect.audit_record r
                WHERE r.kind = 'r' AND r.ref_seq = i.ring_seq AND r.instance = i.instance AND i.outcome = 's' LIMIT 1) result ON true
            CROSS JOIN LATERAL (SELECT sum(u.n)::bigint FROM unnest(coalesce(result.opened, i.opened)) u (n)) o (n)
        WHERE i.kind = 'i' AND i.at >= dataprotect._now() - interval '30 days' AND o.n > 0
$$;
COMMENT ON FUNCTION dataprotect._recent_openings() IS 'statements of the last thirty days that opened values, and how many';

CREATE FUNCTION dataprotect._page_reads() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH opened AS MATERIALIZED (
        SELECT o.at, o.at::date AS day, o.session_role, o.n FROM dataprotect._recent_openings() o),
    days AS (
        SELECT d.i, (dataprotect._now()::date - 29 + d.i) AS day, coalesce(sum(o.n), 0) AS n
            FROM generate_series(0, 29) d (i) LEFT JOIN opened o ON o.day = dataprotect._now()::date - 29 + d.i GROUP BY d.i),
    top AS (SELECT greatest(max(n), 1) AS n FROM days)
    SELECT dataprotect._html_section('Who saw what', 'Values opened in the last thirty days, as the audit log has it.',
        '<svg viewBox="0 0 600 150" role="img" aria-label="values opened by day" class="chart">'
        || (SELECT string_agg(format('<rect x="%s" y="%s" width="16" height="%s" class="f-plain"><title>%s: %s</title></rect>', d.i * 20 + 2, round(130 - 120 * d.n / t.n, 1), round(120 * d.n / t.n, 1), d.day, d.n), '' ORDER BY d.i) FROM days d, top t)
        || (SELECT string_agg(format('<text x="%s" y="146" class="tick">%s</text>', d.i * 20 + 2, to_char(d.day, 'MM-DD')), '' ORDER BY d.i) FROM days d WHERE d.i % 5 = 0)
        || format('<text x="2" y="12" class="tick">%s</text></svg>', (SELECT t.n FROM top t))
        || dataprotect._html_table('Nobody has opened a value.', '{role,values,statements,last}',
            (SELECT string_agg(dataprotect._html_row(r.session_role, r.n::text, r.statements::text, date_trunc('second', r.last)::text), '' ORDER BY r.n DESC, r.session_role)
             FROM (SELECT o.session_role, sum(o.n) AS n, count(*) AS statements, max(o.at) AS last FROM opened o GROUP BY o.session_role ORDER BY 2 DESC LIMIT 25) r)))
$$;
COMMENT ON FUNCTION dataprotect._page_reads() IS 'part of report(): who saw what by day; for auditors';

CREATE FUNCTION dataprotect._page_retention() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    -- its view counts rows of users' tables: once
    WITH p AS MATERIALIZED (SELECT * FROM dataprotect.retention_policies)
    SELECT dataprotect._html_section('Retention', format('%s rows are due under %s policies; %s rows went in the last thirty days.',
            (SELECT coalesce(sum(p.rows_due), 0) FROM p), (SELECT count(*) FROM p),
            (SELECT coalesce(sum(r.rows_done), 0) FROM dataprotect.retention_runs r WHERE r.started_at >= dataprotect._now() - interval '30 days')),
        dataprotect._html_table('There is no policy.', '{policy,table,keeps,action,state,due rows,oldest,last run}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(p.name) || '</td><td>' || dataprotect._html(p.rel::text) || '</td><td>' || dataprotect._html(p.keep::text) || '</td><td>' || dataprotect._html(p.action)
                               || '</td><td>' || dataprotect._html_badge(p.state, CASE p.state WHEN 'active' THEN 'good' ELSE 'fair' END) || '</td><td>' || coalesce(p.rows_due::text, '') || '</td><td>' || dataprotect._html(p.oldest_due::text)
                               || '</td><td>' || coalesce((SELECT dataprotect._html(date_trunc('second', r.started_at)::text) || ' ' || dataprotect._html_badge(r.outcome, CASE r.outcome WHEN 'ok' THEN 'good' WHEN 'error' THEN 'bad' ELSE 'fair' END)
                                                            FROM dataprotect.retention_runs r WHERE r.policy = p.name ORDER BY r.started_at DESC LIMIT 1), 'never') || '</td></tr>', '' ORDER BY p.name)
             FROM p)))
$$;
COMMENT ON FUNCTION dataprotect._page_retention() IS 'part of report(): what is due and what was done';

-- Each request on the line from its day to its deadline; the grace time is lighter.
CREATE FUNCTION dataprotect._page_deletions() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH open AS (
        SELECT r.*, extract(epoch FROM r.deadline - r.requested_at)::numeric AS whole,
               extract(epoch FROM r.grace_until - r.requested_at)::numeric AS grace,
               greatest(extract(epoch FROM dataprotect._now() - r.requested_at)::numeric, 0) AS gone
            FROM dataprotect.deletion_requests r WHERE r.state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified'))
    SELECT dataprotect._html_section('Deletions', format('%s are under way, %s of them past their deadline; %s are certified.',
            (SELECT count(*) FROM open), (SELECT count(*) FROM open o WHERE o.overdue), (SELECT count(*) FROM dataprotect.deletion_requests r WHERE r.state = 'certified')),
        dataprotect._html_table('No deletion is under way.', '{request,state,from request to deadline,deadline}',
            (SELECT string_agg('<tr><td>' || o.id || ' ' || dataprotect._html(o.account_type) || '</td><td>' || dataprotect._html_badge(o.state, CASE WHEN o.overdue THEN 'bad' WHEN o.state IN ('held') THEN 'fair' ELSE 'good' END)
                               || format('</td><td><svg viewBox="0 0 300 16" role="img" aria-label="%s of %s days" class="line"><rect x="0" y="4" width="300" height="8" class="f-track"/><rect x="0" y="4" width="%s" height="8" class="f-grace"/><rect x="%s" y="1" width="3" height="14" class="f-%s"/></svg>',
                                         floor(o.gone / 86400), round(o.whole / 86400), round(300 * least(o.grace / nullif(o.whole, 0), 1), 1), round(297 * least(o.gone / nullif(o.whole, 0), 1), 1), CASE WHEN o.overdue THEN 'bad' ELSE 'now' END)
                               || '</td><td>' || dataprotect._html(o.deadline::date::text) || '</td></tr>', '' ORDER BY o.deadline, o.id) FROM (SELECT * FROM open ORDER BY deadline, id LIMIT 100) o)))
$$;
COMMENT ON FUNCTION dataprotect._page_deletions() IS 'part of report(): requests to delete accounts on their way to the deadline';

CREATE FUNCTION dataprotect._page_alerts() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_section('Alerts', format('%s wait for somebody to acknowledge them.', (SELECT count(*) FROM dataprotect.alerts a WHERE a.acknowledged_at IS NULL)),
        dataprotect._html_table('There is none.', '{last,severity,what,by,key,times,acknowledged}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(date_trunc('second', a.at)::text) || '</td><td>' || dataprotect._html_severity(a.severity)
                               || '</td><td>' || dataprotect._html(a.event) || '</td><td>' || dataprotect._html(a.session_role) || '</td><td>' || dataprotect._html(a.key)
                               || '</td><td>' || a.n || '</td><td>' || CASE WHEN a.open = 0 THEN 'yes' WHEN a.open = a.n THEN 'no' ELSE dataprotect._html(format('all but %s', a.open)) END || '</td></tr>', ''
                               ORDER BY a.open = 0, array_position('{critical,high,medium,low}'::text[], a.severity), a.at DESC)
             FROM (SELECT x.event, x.severity, x.session_role, x.key, max(x.at) AS at, count(*) AS n, count(*) FILTER (WHERE x.acknowledged_at IS NULL) AS open
                   FROM dataprotect.alerts x WHERE x.acknowledged_at IS NULL OR x.at >= dataprotect._now() - interval '90 days'
                   GROUP BY x.event, x.severity, x.session_role, x.key ORDER BY max(x.at) DESC LIMIT 100) a)))
$$;
COMMENT ON FUNCTION dataprotect._page_alerts() IS 'part of report(): what somebody was told of at once';

CREATE FUNCTION dataprotect._page_incidents() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_section('Incidents', format('%s are open, %s of them past the time in which the authority is told.',
            (SELECT count(*) FROM dataprotect.incidents i WHERE i.state = 'open'), (SELECT count(*) FROM dataprotect.incidents i WHERE i.overdue)),
        dataprotect._html_table('There is none on record.', '{incident,title,state,aware,authority told by,contained,told}',
            (SELECT string_agg('<tr><td>' || i.id || '</td><td>' || dataprotect._html(i.title) || '</td><td>' || dataprotect._html_badge(CASE WHEN i.overdue THEN 'overdue' ELSE i.state END, CASE WHEN i.overdue THEN 'bad' WHEN i.state = 'open' THEN 'fair' ELSE 'good' END)
                               || '</td><td>' || dataprotect._html(date_trunc('minute', i.aware_at)::text) || '</td><td>' || dataprotect._html(date_trunc('minute', i.deadline)::text)
                               || '</td><td>' || dataprotect._html(coalesce(date_trunc('minute', i.contained_at)::text, 'no'))
                               || '</td><td>' || dataprotect._html(coalesce(date_trunc('minute', i.notified_at)::text, i.not_notified, 'no')) || '</td></tr>', '' ORDER BY i.state DESC, i.id DESC)
             FROM dataprotect.incidents i)))
$$;
COMMENT ON FUNCTION dataprotect._page_incidents() IS 'part of report(): the register of incidents';

CREATE FUNCTION dataprotect._page_controls() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH c AS MATERIALIZED (SELECT * FROM dataprotect.control_report())
    SELECT dataprotect._html_section('Controls and promises', 'Each promise and control beside what this server shows of it now.',
        dataprotect._svg_shares('controls by verdict', ARRAY[(SELECT count(*) FROM c WHERE c.verdict = 'kept'), (SELECT count(*) FROM c WHERE c.verdict = 'partly'),
                                                             (SELECT count(*) FROM c WHERE c.verdict = 'not kept'), (SELECT count(*) FROM c WHERE c.verdict = 'outside')],
                                ARRAY['good', 'fair', 'bad', 'track'])
        || dataprotect._html_table('There is none.', '{control,promise,verdict,evidence}',
            (SELECT string_agg('<tr><td>' || dataprotect._html(c.control) || '</td><td>' || dataprotect._html(c.promise)
                               || '</td><td>' || dataprotect._html_badge(c.verdict, CASE c.verdict WHEN 'kept' THEN 'good' WHEN 'partly' THEN 'fair' WHEN 'not kept' THEN 'bad' ELSE 'plain' END)
                               || '</td><td>' || dataprotect._html(c.evidence) || '</td></tr>', '' ORDER BY array_position('{not kept,partly,kept,outside}'::text[], c.verdict), c.control) FROM c)))
$$;
COMMENT ON FUNCTION dataprotect._page_controls() IS 'part of report(): control_report()';

CREATE FUNCTION dataprotect._page_server() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._html_section('This server', 'What is not ready, and what makes protection worth less than it says.',
        dataprotect._html_table('Everything is ready.', '{severity,what,detail,to mend it}',
            (SELECT string_agg('<tr><td>' || dataprotect._html_severity(f.severity)
                               || '</td><td>' || dataprotect._html(f.finding) || '</td><td>' || dataprotect._html(f.detail) || '</td><td>' || dataprotect._html(f.hint) || '</td></tr>', ''
                               ORDER BY array_position('{critical,high,medium,low}'::text[], f.severity), f.finding)
             FROM (SELECT l.severity, l.finding, l.detail, l.hint FROM dataprotect.lint_configuration() l
                   UNION SELECT s.severity, s.item, s.detail, s.hint FROM dataprotect.check_setup() s WHERE NOT s.ok) f)))
$$;
COMMENT ON FUNCTION dataprotect._page_server() IS 'part of report(): findings about the server';

CREATE FUNCTION dataprotect._page_style() RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '<style>
:root{--ink:#1c2430;--soft:#5a6675;--page:#fff;--card:#f5f7fa;--line:#d5dbe3;--good:#1f7a4d;--fair:#8a5a00;--bad:#b3261e;--bar:#3566a8;--grace:#9db8dc}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a4b0bf;--page:#12161c;--card:#1b212a;--line:#38424f;--good:#5cc08b;--fair:#e0a94a;--bad:#ff8a80;--bar:#7ea9e6;--grace:#3d587e}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.5rem 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:0 0 .25rem}h3{font-size:1rem;margin:1rem 0 .25rem}
.lead,.meta,.none{color:var(--soft);margin:.1rem 0 .6rem}section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem;margin:1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:1rem 0}.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.75rem}
.tile b{display:block;font-size:1.5rem}.tile span{color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);overflow-wrap:break-word;min-width:4.5rem}th{color:var(--soft);font-weight:600;white-space:nowrap}
td:first-child{min-width:7rem}td:last-child{min-width:8rem}.badge{border:1px solid currentColor;border-radius:4px;padding:0 .35rem;white-space:nowrap;font-size:.85em}.good{color:var(--good)}.fair{color:var(--fair)}.bad{color:var(--bad)}.plain{color:var(--soft)}
.chart{width:100%;height:auto;display:block;margin:.5rem 0}.line{width:100%;min-width:10rem;height:16px}.f-good{fill:var(--good)}.f-bad{fill:var(--bad)}.f-fair{fill:var(--fair)}.f-plain{fill:var(--bar)}.f-grace{fill:var(--grace)}.f-track{fill:var(--line)}.f-now{fill:var(--ink)}
.tick{fill:var(--soft);font:10px system-ui,sans-serif}
@media screen and (max-width:34rem){.wide thead{display:block;position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}.wide tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}.wide td{display:flex;gap:.6rem;border:0;padding:.1rem 0;overflow-wrap:anywhere}.wide td:empty{display:none}.wide td::before{content:attr(data-head);flex:0 0 7rem;color:var(--soft);font-weight:600;overflow-wrap:normal}.line{min-width:0}.tick{font-size:20px}}
@media print{:root{--ink:#000;--soft:#444;--page:#fff;--card:#fff;--line:#bbb;--good:#1f7a4d;--fair:#8a5a00;--bad:#b3261e;--bar:#3566a8;--grace:#9db8dc}section,tr,.tile{break-inside:avoid}.wide{overflow:visible}body{font-size:11px}th,td,td:first-child,td:last-child{min-width:0;overflow-wrap:anywhere;padding-right:.4rem}th{white-space:normal;overflow-wrap:normal}}
</style>'
$$;
COMMENT ON FUNCTION dataprotect._page_style() IS 'the style sheet of report()';

CREATE FUNCTION dataprotect._html_tile(number text, label text, tone text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '<div class="tile"><b class="' || CASE WHEN tone IN ('good', 'fair', 'bad') THEN tone ELSE '' END || '">' || dataprotect._html(number) || '</b><span>' || dataprotect._html(label) || '</span></div>'
$$;
COMMENT ON FUNCTION dataprotect._html_tile(text, text, text) IS 'one figure of the page''s head';

CREATE FUNCTION dataprotect.report() RETURNS text
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    -- what happened just now is in it; where the log cannot be written, the rest is shown all the same
    SELECT dataprotect.flush_audit_log('5 seconds');
    SELECT '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        || '<meta name="color-scheme" content="light dark"><title>Data protection: ' || dataprotect._html(current_database()) || '</title>' || dataprotect._page_style()
        || '</head><body><main><h1>Data protection in ' || dataprotect._html(current_database()) || '</h1><p class="meta">'
        || dataprotect._html(format('%s, dataprotect %s on PostgreSQL %s, for %s', to_char(dataprotect._now(), 'YYYY-MM-DD HH24:MI TZ'),
                                    (SELECT v.library FROM dataprotect.dataprotect_version() v), current_setting('server_version'), pg_get_userbyid(dataprotect._caller())))
        || '</p><div class="tiles">'
        || (SELECT dataprotect._html_tile(count(*)::text, 'protected columns', '') FROM dataprotect.protected_columns)
        || (SELECT dataprotect._html_tile(count(*)::text, 'roles that see values', '') FROM dataprotect.access_review a WHERE a.level = 3)
        || (SELECT dataprotect._html_tile(count(*)::text, 'open alerts', CASE WHEN count(*) > 0 THEN 'fair' ELSE 'good' END) FROM dataprotect.alerts a WHERE a.acknowledged_at IS NULL)
        || (SELECT dataprotect._html_tile(coalesce(sum(p.rows_due), 0)::text, 'rows due for deletion', '') FROM dataprotect.retention_policies p)
        || (SELECT dataprotect._html_tile(count(*)::text, 'deletions past their deadline', CASE WHEN count(*) > 0 THEN 'bad' ELSE 'good' END) FROM dataprotect.deletion_requests r WHERE r.overdue)
        || '</div>'
        || dataprotect._page_coverage() || dataprotect._page_keys() || dataprotect._page_access()
        || CASE WHEN pg_has_role(dataprotect._caller(), 'dataprotect_auditor', 'USAGE') THEN dataprotect._page_reads()
                ELSE dataprotect._html_section('Who saw what', 'For members of dataprotect_auditor.', '') END
        || dataprotect._page_retention() || dataprotect._page_deletions() || dataprotect._page_alerts() || dataprotect._page_incidents() || dataprotect._page_controls() || dataprotect._page_server()
        || '</main></body></html>'
$$;
COMMENT ON FUNCTION dataprotect.report() IS
    'one HTML page without anything from elsewhere: coverage, keys, who can see what, who saw what (for auditors), retention, deletions, alerts, incidents, controls and the state of the server';
