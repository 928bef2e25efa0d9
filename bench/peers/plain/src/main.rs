//! A key-value service as the documentation of Poem and SeaORM shows it: each request asks the database for
//! itself, through the driver's pool. It serves the table `items` of kvd, on PostgreSQL, MySQL, MariaDB and SQLite.
//!
//! `plain DATABASE_URL ADDRESS`

use std::{env, error::Error, time::Duration};

use poem::{EndpointExt, Route, Server, http::StatusCode, listener::TcpListener, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi, OpenApiService,
    param::{Path, Query},
    payload::Json,
};
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr,
    EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, ExprTrait, SimpleExpr},
};

mod item {
    use sea_orm::{entity::prelude::*, prelude::DateTimeUtc};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "items")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub key: String,
        #[sea_orm(column_type = "Text")]
        pub value: String,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// As many as kvd opens by default.
const CONNECTIONS: u32 = 16;

#[derive(Object)]
struct Item {
    key: String,
    value: String,
    version: i64,
    created_at: String,
    updated_at: String,
}

impl From<item::Model> for Item {
    fn from(item: item::Model) -> Self {
        Self {
            key: item.key,
            value: item.value,
            version: item.version,
            created_at: item.created_at.to_rfc3339(),
            updated_at: item.updated_at.to_rfc3339(),
        }
    }
}

#[derive(Object)]
struct Update {
    value: String,
}

#[derive(Object)]
struct Page {
    items: Vec<Item>,
    total: u64,
}

#[derive(ApiResponse)]
enum Found {
    #[oai(status = 200)]
    Item(Json<Item>),
    #[oai(status = 404)]
    Missing,
}

impl From<Option<item::Model>> for Found {
    fn from(item: Option<item::Model>) -> Self {
        item.map_or(Self::Missing, |item| Self::Item(Json(item.into())))
    }
}

struct Items;

#[OpenApi]
impl Items {
    #[oai(path = "/items/:key", method = "get")]
    async fn get(&self, db: Data<&DatabaseConnection>, key: Path<String>) -> poem::Result<Found> {
        Ok(find(&db, &key).await.map_err(failed)?.into())
    }

    #[oai(path = "/items/:key", method = "put")]
    async fn put(
        &self,
        db: Data<&DatabaseConnection>,
        key: Path<String>,
        update: Json<Update>,
    ) -> poem::Result<Found> {
        Ok(replace(&db, &key, update.0.value)
            .await
            .map_err(failed)?
            .into())
    }

    #[oai(path = "/items", method = "get")]
    async fn list(
        &self,
        db: Data<&DatabaseConnection>,
        page: Query<Option<u64>>,
    ) -> poem::Result<Json<Page>> {
        let pages = item::Entity::find()
            .order_by_asc(item::Column::Key)
            .paginate(*db, 10);
        let page = page.0.unwrap_or(1).saturating_sub(1);
        let total = pages.num_items().await.map_err(failed)?;
        let items = pages.fetch_page(page).await.map_err(failed)?;
        let items = items.into_iter().map(Item::from).collect();
        Ok(Json(Page { items, total }))
    }
}

fn failed(error: DbErr) -> poem::Error {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR.into()
}

async fn find(db: &DatabaseConnection, key: &str) -> Result<Option<item::Model>, DbErr> {
    let select = item::Entity::find().filter(item::Column::Key.eq(key));
    select.one(db).await
}

/// One statement where the engine returns what it updated, else an update and a look-up.
async fn replace(
    db: &DatabaseConnection,
    key: &str,
    value: String,
) -> Result<Option<item::Model>, DbErr> {
    let update = item::Entity::update_many()
        .col_expr(item::Column::Value, Expr::value(value))
        .col_expr(
            item::Column::Version,
            Expr::col(item::Column::Version).add(1),
        )
        .col_expr(item::Column::UpdatedAt, now(db.get_database_backend()))
        .filter(item::Column::Key.eq(key));
    if db.support_returning() {
        return Ok(update.exec_with_returning(db).await?.pop());
    }
    update.exec(db).await?;
    find(db, key).await
}

fn now(backend: DbBackend) -> SimpleExpr {
    Expr::cust(match backend {
        DbBackend::MySql => "UTC_TIMESTAMP(6)",
        DbBackend::Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        _ => "clock_timestamp()",
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(url), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plain DATABASE_URL ADDRESS".into());
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(30))
        .sqlx_logging(false);
    let db = Database::connect(options).await?;
    let api = OpenApiService::new(Items, "plain", "0.1");
    let app = Route::new().nest("/", api).data(db);
    Server::new(TcpListener::bind(address)).run(app).await?;
    Ok(())
}
