// What Rust's sqlx makes of a table, by its own decoding of what the server declares.
// Called with host, port, user and the table's name.
use rust_decimal::Decimal;
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sqlx::types::{ipnetwork::IpNetwork, Uuid};
use sqlx::{postgres::PgRow, Column, Connection, Executor, Row, TypeInfo};

fn show(row: &PgRow) {
    for column in row.columns() {
        let (i, kind) = (column.ordinal(), column.type_info().name());
        let value = match kind {
            "INT2" => format!("{:?}", row.try_get::<Option<i16>, _>(i)),
            "INT4" => format!("{:?}", row.try_get::<Option<i32>, _>(i)),
            "INT8" => format!("{:?}", row.try_get::<Option<i64>, _>(i)),
            "FLOAT4" => format!("{:?}", row.try_get::<Option<f32>, _>(i)),
            "FLOAT8" => format!("{:?}", row.try_get::<Option<f64>, _>(i)),
            "NUMERIC" => format!("{:?}", row.try_get::<Option<Decimal>, _>(i)),
            "BOOL" => format!("{:?}", row.try_get::<Option<bool>, _>(i)),
            "DATE" => format!("{:?}", row.try_get::<Option<NaiveDate>, _>(i)),
            "TIME" => format!("{:?}", row.try_get::<Option<NaiveTime>, _>(i)),
            "TIMESTAMP" => format!("{:?}", row.try_get::<Option<NaiveDateTime>, _>(i)),
            "TIMESTAMPTZ" => format!("{:?}", row.try_get::<Option<DateTime<Utc>>, _>(i)),
            "UUID" => format!("{:?}", row.try_get::<Option<Uuid>, _>(i)),
            "INET" => format!("{:?}", row.try_get::<Option<IpNetwork>, _>(i)),
            "JSONB" => format!("{:?}", row.try_get::<Option<serde_json::Value>, _>(i)),
            "BYTEA" => format!("{:?}", row.try_get::<Option<Vec<u8>>, _>(i)),
            _ => format!("{:?}", row.try_get::<Option<String>, _>(i)),
        };
        println!("{} {} {}", column.name(), kind, value);
    }
}

macro_rules! probe {
    ($db:expr, $table:expr, $name:expr, $value:expr) => {
        for text in [format!("UPDATE {} SET {} = $1 WHERE id = 1 RETURNING {}", $table, $name, $name),
                     format!("SELECT id FROM {} WHERE {} = $1 ORDER BY id", $table, $name)] {
            let mut transaction = $db.begin().await.unwrap();
            let described = (&mut *transaction).describe(text.as_str()).await.map(|d| format!("{:?}", d.parameters)).unwrap_or_else(|e| format!("{:?}", e.as_database_error().and_then(|d| d.code().map(|c| c.to_string()))));
            println!("{} {}", $name, described);
            match sqlx::query(text.as_str()).bind($value).fetch_all(&mut *transaction).await {
                Ok(rows) => rows.iter().for_each(show),
                Err(e) => println!("{} {:?}", $name, e.as_database_error().and_then(|d| d.code().map(|c| c.to_string()))),
            }
            transaction.rollback().await.unwrap();
        }
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let table = &args[4];
    let mut db = sqlx::PgConnection::connect(&format!("postgres://{}@{}:{}/postgres", args[3], args[1], args[2])).await.unwrap();
    for row in sqlx::query(format!("SELECT * FROM {table} ORDER BY id").as_str()).fetch_all(&mut db).await.unwrap() {
        show(&row);
    }
    probe!(db, table, "name", "Eve");
    probe!(db, table, "n2", 3i16);
    probe!(db, table, "n4", 4i32);
    probe!(db, table, "n8", 1i64 << 40);
    probe!(db, table, "f4", 0.5f32);
    probe!(db, table, "f8", 2.5f64);
    probe!(db, table, "pay", "1.25".parse::<Decimal>().unwrap());
    probe!(db, table, "active", true);
    probe!(db, table, "born", NaiveDate::from_ymd_opt(2000, 2, 29).unwrap());
    probe!(db, table, "tz", DateTime::<Utc>::from_timestamp(0, 0).unwrap());
    probe!(db, table, "u", Uuid::from_u128(9));
    probe!(db, table, "doc", serde_json::json!({"b": [1, null]}));
    probe!(db, table, "raw", vec![0u8, 1, 255]);
}
