//! What every catalog must do: the meaning of `storage::catalog::Catalog`, run over each backend.
//!
//! | file | what it is |
//! |---|---|
//! | `backend` | how a backend is opened, closed and abandoned: all that a new one adds |
//! | `rows` | rows and ids to try with |
//! | `model` | the meaning, on ordered maps |
//! | `steps` | random changes and questions |
//! | `agreement` | backend and model side by side |
//! | `buckets`, `objects`, `bodies`, `lists`, `rewrap`, `log` | behaviours by name, most of them races |

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod log;
#[cfg(test)]
mod model;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod rewrap;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod steps;

/// The whole suite over one backend.
macro_rules! conformance {
    ($name:ident, $backend:ty) => {
        conformance! { $name, $backend:
            buckets::a_name_belongs_to_whoever_was_first,
            buckets::a_bucket_is_deleted_or_written_to_never_both,
            buckets::a_bucket_is_deleted_or_uploaded_to_never_both,
            objects::of_many_creators_one_wins,
            objects::of_many_replacers_one_wins,
            objects::a_batch_of_deletions_is_one_step,
            objects::a_refused_change_leaves_no_trace,
            objects::a_row_is_what_its_digest_says,
            bodies::a_body_is_committed_or_condemned_never_both,
            bodies::a_body_is_shared_or_garbage_never_both,
            bodies::a_body_is_of_one_object,
            bodies::a_condemned_body_may_return_once_forgotten,
            lists::a_common_prefix_costs_one_step,
            lists::pages_join_to_the_whole,
            lists::a_list_passes_what_was_deleted,
            lists::pages_of_uploads_join_to_the_whole,
            rewrap::envelopes_change_in_their_places,
            rewrap::nothing_new_hangs_on_a_key_that_was_rotated,
            rewrap::how_far_it_came_is_kept_with_it,
            log::positions_have_no_gaps_and_chains_hold,
            log::a_session_has_a_stream_of_its_own,
            log::a_closed_catalog_takes_nothing,
        }
    };
    ($name:ident, $backend:ty: $($file:ident::$behaviour:ident,)*) => {
        #[cfg(test)]
        mod $name {
            use crate::backend::Backend;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                crate::$file::$behaviour(&<$backend>::fresh()).await;
            })*

            #[test]
            fn random_changes_mean_what_the_model_says() {
                crate::agreement::random_changes::<$backend>();
            }
        }
    };
}

conformance!(rocks, crate::backend::Rocks);
