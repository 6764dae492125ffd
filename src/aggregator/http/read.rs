//! The routes of the read path.

use actix_web::web;

use super::{
    budgets, chassis, devices, events, explain, hosts, metrics, page, rates, reconcile, report, rollup, top, unmatched,
};

/// Adds the routes.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(web::resource("/").route(web::get().to(page::page)))
        .service(web::resource("/hosts/{id:.+}").route(web::get().to(page::host)))
        .service(web::resource("/chassis/{id:.+}").route(web::get().to(page::chassis)))
        .service(web::resource("/devices/{id:.+}").route(web::get().to(page::device)))
        .service(web::resource("/assets/{file}").route(web::get().to(page::asset)))
        .service(web::resource("/metrics").route(web::get().to(metrics::metrics)))
        .service(web::resource("/api/v1/events").route(web::get().to(events::events)))
        .service(web::resource("/api/v1/explain").route(web::get().to(explain::explain)))
        .service(web::resource("/api/v1/rates").route(web::get().to(rates::rates)))
        .service(web::resource("/api/v1/budgets").route(web::get().to(budgets::list)))
        .service(web::resource("/api/v1/rollup").route(web::get().to(rollup::rollup)))
        .service(web::resource("/api/v1/reconcile").route(web::get().to(reconcile::reconcile)))
        .service(web::resource("/api/v1/report").route(web::get().to(report::report)))
        .service(web::resource("/api/v1/top").route(web::get().to(top::top)))
        .service(web::resource("/api/v1/unmatched").route(web::get().to(unmatched::list)))
        .service(web::resource("/api/v1/hosts").route(web::get().to(hosts::list)))
        .service(web::resource("/api/v1/hosts/{id:.+}").route(web::get().to(hosts::one)))
        .service(web::resource("/api/v1/chassis").route(web::get().to(chassis::list)))
        .service(web::resource("/api/v1/chassis/{id:.+}").route(web::get().to(chassis::one)))
        .service(web::resource("/api/v1/devices").route(web::get().to(devices::list)))
        .service(web::resource("/api/v1/devices/{id:.+}").route(web::get().to(devices::one)));
}
