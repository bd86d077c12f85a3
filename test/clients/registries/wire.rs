// What Rust's tokio-postgres (by its synchronous front, postgres) makes of a table.
// Called with host, port, user and the table's name.
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use postgres::{types::ToSql, Client, NoTls, Row};
use rust_decimal::Decimal;
use std::net::IpAddr;

fn show(row: &Row) {
    for (i, column) in row.columns().iter().enumerate() {
        let value = match column.type_().name() {
            "int2" => format!("{:?}", row.try_get::<_, Option<i16>>(i)),
            "int4" => format!("{:?}", row.try_get::<_, Option<i32>>(i)),
            "int8" => format!("{:?}", row.try_get::<_, Option<i64>>(i)),
            "float4" => format!("{:?}", row.try_get::<_, Option<f32>>(i)),
            "float8" => format!("{:?}", row.try_get::<_, Option<f64>>(i)),
            "numeric" => format!("{:?}", row.try_get::<_, Option<Decimal>>(i)),
            "bool" => format!("{:?}", row.try_get::<_, Option<bool>>(i)),
            "date" => format!("{:?}", row.try_get::<_, Option<NaiveDate>>(i)),
            "time" => format!("{:?}", row.try_get::<_, Option<NaiveTime>>(i)),
            "timestamp" => format!("{:?}", row.try_get::<_, Option<NaiveDateTime>>(i)),
            "timestamptz" => format!("{:?}", row.try_get::<_, Option<DateTime<Utc>>>(i)),
            "uuid" => format!("{:?}", row.try_get::<_, Option<uuid::Uuid>>(i)),
            "inet" => format!("{:?}", row.try_get::<_, Option<IpAddr>>(i)),
            "jsonb" => format!("{:?}", row.try_get::<_, Option<serde_json::Value>>(i)),
            "bytea" => format!("{:?}", row.try_get::<_, Option<Vec<u8>>>(i)),
            _ => format!("{:?}", row.try_get::<_, Option<String>>(i)),
        };
        println!("{} {} {}", column.name(), column.type_(), value);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let table = &args[4];
    let mut db = Client::connect(&format!("host={} port={} user={} dbname=postgres", args[1], args[2], args[3]), NoTls).unwrap();
    for row in db.query(&format!("SELECT * FROM {table} ORDER BY id"), &[]).unwrap() {
        show(&row);
    }
    let doc = serde_json::json!({"b": [1, null]});
    let pay: Decimal = "1.25".parse().unwrap();
    let born = NaiveDate::from_ymd_opt(2000, 2, 29).unwrap();
    let tz = DateTime::<Utc>::from_timestamp(0, 0).unwrap();
    let u = uuid::Uuid::from_u128(9);
    let raw: &[u8] = &[0, 1, 255];
    let values: Vec<(&str, &(dyn ToSql + Sync))> = vec![("name", &"Eve"), ("code", &"c"), ("n2", &3i16), ("n4", &4i32), ("n8", &(1i64 << 40)), ("f4", &0.5f32),
        ("f8", &2.5f64), ("pay", &pay), ("active", &true), ("born", &born), ("tz", &tz), ("u", &u), ("doc", &doc), ("raw", &raw)];
    for (name, value) in values {
        let mut transaction = db.transaction().unwrap();
        let statement = transaction.prepare(&format!("UPDATE {table} SET {name} = $1 WHERE id = 1 RETURNING {name}")).unwrap();
        println!("set {name} {:?}", statement.params());
        show(&transaction.query_one(&statement, &[value]).unwrap());
        for condition in [format!("{name} = $1"), format!("{name} IN ($1)")] {
            let found = transaction.query_one(&format!("SELECT count(*) FROM {table} WHERE {condition}"), &[value]).unwrap();
            println!("where {condition} {}", found.get::<_, i64>(0));
        }
        transaction.rollback().unwrap();
    }
}
