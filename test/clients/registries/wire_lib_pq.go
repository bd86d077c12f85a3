// What Go's database/sql with lib/pq makes of a table.  Called with host, port, user and the table's name.
package main

import (
	"database/sql"
	"fmt"
	"os"
	"time"

	_ "github.com/lib/pq"
)

func main() {
	table := os.Args[4]
	db, err := sql.Open("postgres", fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", os.Args[1], os.Args[2], os.Args[3]))
	if err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(1)
	for _, args := range [][]interface{}{{}, {0}} {
		condition := "" // without parameters lib/pq asks for text in one message
		if len(args) > 0 {
			condition = " WHERE id > $1"
		}
		rows, err := db.Query("SELECT * FROM "+table+condition+" ORDER BY id", args...)
		if err != nil {
			panic(err)
		}
		types, _ := rows.ColumnTypes()
		for _, t := range types {
			precision, scale, sized := t.DecimalSize()
			length, long := t.Length()
			fmt.Println(t.Name(), t.DatabaseTypeName(), t.ScanType(), precision, scale, sized, length, long)
		}
		for rows.Next() {
			values := make([]interface{}, len(types))
			places := make([]interface{}, len(types))
			for i := range values {
				places[i] = &values[i]
			}
			fmt.Println(rows.Scan(places...))
			for i, v := range values {
				fmt.Printf("%s %T %v\n", types[i].Name(), v, v)
			}
		}
		rows.Close()
	}
	values := []struct {
		name  string
		value interface{}
	}{{"name", "Eve"}, {"code", "c"}, {"n2", 3}, {"n4", 4}, {"n8", int64(1) << 40}, {"f8", 2.5}, {"pay", "1.25"}, {"active", true},
		{"born", time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)}, {"tz", time.Unix(0, 0).UTC()}, {"u", "00000000-0000-0000-0000-000000000009"}, {"raw", []byte{0, 1, 255}}}
	for _, v := range values {
		tx, err := db.Begin()
		if err != nil {
			panic(err)
		}
		var back interface{}
		err = tx.QueryRow("UPDATE "+table+" SET "+v.name+" = $1 WHERE id = 1 RETURNING "+v.name, v.value).Scan(&back)
		fmt.Printf("set %s %T %v %v\n", v.name, back, back, err)
		var n int
		err = tx.QueryRow("SELECT count(*) FROM "+table+" WHERE "+v.name+" = $1", v.value).Scan(&n)
		fmt.Println("where", v.name, n, err)
		tx.Rollback()
	}
}
