# What Ruby's pg makes of a table.  Called with host, port, user and the table's name.
require 'pg'
require 'pg/basic_type_mapping' if PG::VERSION < '1.0'

host, port, user, table = ARGV
db = PG.connect(host: host, port: port, user: user, dbname: 'postgres')
db.type_map_for_results = PG::BasicTypeMapForResults.new(db)
[0, 1].each do |format|
  rows = db.exec_params("SELECT id, name, n2, n4, n8, f8, active, raw FROM #{table} ORDER BY id", [], format)
  rows.nfields.times { |i| puts [rows.fname(i), rows.ftype(i), rows.fmod(i)].join(' ') }
  rows.each_row { |row| row.each { |value| puts "#{value.class} #{value.inspect}" } }
end
rows = db.exec("SELECT pay, born, ts, tz, ip, u FROM #{table} ORDER BY id")
rows.each_row { |row| row.each { |value| puts "#{value.class} #{value.inspect}" } }
db.exec('BEGIN')
{ name: 'Eve', n4: 4, active: 'f', pay: '1.25' }.each do |name, value|
  db.exec_params("UPDATE #{table} SET #{name} = $1 WHERE id = 1 RETURNING #{name}", [value]).each_row { |row| puts "set #{name} #{row.inspect}" }
end
db.exec('ROLLBACK')
